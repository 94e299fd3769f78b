"""Where accuracy is lost, measured stage by stage."""
