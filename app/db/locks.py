"""Numbers of the advisory locks this database knows, so that no two uses share one."""

MIGRATION = 0x7061_7373_0001
"""Held by whoever migrates the schema."""
SCHEDULER = 0x7061_7373_0002
"""Held by the one scheduler that leads, as long as its session lives."""
IDEMPOTENCY = 0x7061_7373
"""First half of a two-part lock; the second is a hash of the key."""
WORK = 0x7061_7374
"""First half of a two-part lock; the second is a hash of a stage's key. Held while an equal stage is looked for."""
