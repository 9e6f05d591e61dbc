"""Users, which place the interactions: the contract, simulated users and recorded users."""
