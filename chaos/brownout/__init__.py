"""brownout: proves that a system of services fails the way its authors promised."""
