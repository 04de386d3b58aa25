"""What tests share: builders of machines, messages and guests, and the parties that speak to what is tested."""
