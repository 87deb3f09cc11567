"""Access control: keys, rate and concurrency limits, uvicorn protocols with deadlines."""
