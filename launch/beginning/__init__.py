"""`hrgan init`: from a look at photographs and a machine to the configuration of a first run."""
