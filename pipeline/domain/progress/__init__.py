"""How far a Movement is, and how long it will still take: rates, a range, and what was shown against what came."""
