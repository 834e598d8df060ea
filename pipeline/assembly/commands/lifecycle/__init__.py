"""What people do about Movements: pause, resume, stop, run again, retry, reload."""
