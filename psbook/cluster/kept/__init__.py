"""Tables that outlive their job: kept where they lie, and read from there."""
