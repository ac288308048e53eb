"""What a campaign is and what happens next: pure, no I/O, no clock, no logging."""
