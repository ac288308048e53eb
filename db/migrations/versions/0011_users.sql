-- People who sign in to the pages. `user` is a word of SQL, so the table has another name.
CREATE TABLE account (
    id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email         text NOT NULL,
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('viewer', 'editor', 'admin')),
    password_hash text NOT NULL,
    active        boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX account_email_idx ON account (lower(email));

-- Who is signed in. Only a hash of the cookie's value is kept: whoever reads the table cannot sign in with it.
CREATE TABLE sign_in (
    hash       bytea PRIMARY KEY,
    account_id int NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_account_idx ON sign_in (account_id);

-- Failed sign-ins by hash of the address, known or not, until they no longer count.
CREATE TABLE sign_in_failure (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_hash bytea NOT NULL,
    at         timestamptz NOT NULL
);
CREATE INDEX sign_in_failure_idx ON sign_in_failure (email_hash, at);
