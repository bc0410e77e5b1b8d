-- The identities of a person, which are listed, and unlinked when the account is deleted.
CREATE INDEX identities_user ON identities (user_id);
