"""Every image of a run, for a page to look at: what was learned of each, as data that a browser draws."""
