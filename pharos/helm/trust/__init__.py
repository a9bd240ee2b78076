"""Trust over time: deny lists, renewals, rotations, and who has heard of them."""
