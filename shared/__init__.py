"""What two stages or more use."""
