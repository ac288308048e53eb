-- Whether who submits a form may say by its key which contact it is: for forms behind a sign-in of the site's own.
-- Everybody else is known by the address, or by the signed token of a visit.
ALTER TABLE form ADD COLUMN names_contact boolean NOT NULL DEFAULT false;
