"""The queue's rules without SQL: states, legal transitions, and the values that the store takes and gives."""
