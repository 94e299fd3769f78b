"""Files of a user's folder: names, bytes, pixels."""
