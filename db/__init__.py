"""Tables, set-based statements and the embedded server. Takes a `Connection`, returns domain values, never commits."""
