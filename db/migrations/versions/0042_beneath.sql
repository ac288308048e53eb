-- Of two reasons on a channel the weaker one is kept beneath, for when the stronger is taken back: {reason: {at,
-- comment}}. Written for planners, which put its body in its place.
CREATE FUNCTION is_weaker_refusal(said text, known text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_position(ARRAY['unsubscribed', 'manual', 'bounced'], said)
                    > array_position(ARRAY['unsubscribed', 'manual', 'bounced'], known), false)
$$;

CREATE FUNCTION refusals_beneath(
    beneath jsonb, weaker boolean,
    known text, known_at timestamptz, known_comment text, said text, said_at timestamptz, said_comment text
) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN weaker
                THEN beneath || jsonb_build_object(said, jsonb_build_object('at', said_at, 'comment', said_comment))
                WHEN known <> said
                THEN beneath || jsonb_build_object(known, jsonb_build_object('at', known_at, 'comment', known_comment))
                ELSE beneath END
$$;
