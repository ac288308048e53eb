"""Campaign files: model, checks, and the campaign that is built from one."""
