"""Where the services of the shop find each other."""
