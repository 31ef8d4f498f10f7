"""The options of each command, declared once, with their help, as the object that the command passes on."""
