"""Tables in the terminal, in Markdown and in HTML."""
