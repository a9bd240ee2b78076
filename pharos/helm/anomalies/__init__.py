"""What is odd about how the fleet is used: rules over sessions, traffic and refused tries, each with its evidence."""
