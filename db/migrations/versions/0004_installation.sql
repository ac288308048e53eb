-- What all processes of an installation share and nobody has to set, such as the secret that signs links.
CREATE TABLE installation (
    name  text PRIMARY KEY,
    value text NOT NULL
);
