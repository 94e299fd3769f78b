"""Where exported models of earlier versions look for `registrations`; it is in `wsis.method.prediction` now."""
