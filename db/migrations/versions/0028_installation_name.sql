-- What tells the messages of this installation from those of another, such as a copy for trials.
INSERT INTO installation (name, value) VALUES ('name', left(replace(gen_random_uuid()::text, '-', ''), 8))
ON CONFLICT DO NOTHING;
