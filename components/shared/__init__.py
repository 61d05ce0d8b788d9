"""What more than one step stands on."""
