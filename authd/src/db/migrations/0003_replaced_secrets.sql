-- Secrets that a rotation replaced are swept by the end of their grace.
CREATE INDEX token_secrets_end ON token_secrets (expires_at) WHERE expires_at IS NOT NULL;
