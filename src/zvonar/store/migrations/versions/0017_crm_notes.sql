-- Notes come in batches, only to cards that are there, and neither cards nor accounts go: a foreign key would be looked
-- up for each of them in vain.
ALTER TABLE crm_notes DROP CONSTRAINT crm_notes_account_id_fkey;
