"""What an operator should look at: raised by helm itself, looked after by people."""
