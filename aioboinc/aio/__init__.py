"""What asyncio lacks: pauses, threads, signals, locks, durable files."""
