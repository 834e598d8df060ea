"""Ways of delivery that take an Event File as a whole: in a transaction, and staged."""
