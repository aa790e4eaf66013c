-- Transcripts come minutes after their session; each is told to the report once.
ALTER TABLE transcripts ADD COLUMN reported boolean NOT NULL DEFAULT false;
CREATE INDEX transcripts_untold ON transcripts (done_at) WHERE done_at IS NOT NULL AND NOT reported;
