"""What must hold, checked in the step in which something is stored, sent or committed."""
