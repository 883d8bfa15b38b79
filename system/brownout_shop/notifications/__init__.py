"""The notifications service: tells users what happened."""
