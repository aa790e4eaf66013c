-- A call that its client took out while it was up has been removed, unless it succeeded all the same. Its last attempt
-- said so only where another one would have followed.
CREATE FUNCTION call_was_removed() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.call_end := 'removed'; RETURN NEW; END $$;
CREATE TRIGGER calls_removed BEFORE UPDATE OF state ON calls FOR EACH ROW
    WHEN (OLD.removing AND OLD.state IN ('dialing', 'talking') AND NEW.call_end <> 'success')
    EXECUTE FUNCTION call_was_removed();
