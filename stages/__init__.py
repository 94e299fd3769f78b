"""One file a stage: a Config and `run(inputs, config, context)`, which writes one artefact."""
