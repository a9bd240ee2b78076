"""What every open page sees at once."""
