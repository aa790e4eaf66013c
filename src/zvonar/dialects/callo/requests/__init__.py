"""What did a Callo client send? Fields from wherever they stand, cleaned by forms as Django would."""
