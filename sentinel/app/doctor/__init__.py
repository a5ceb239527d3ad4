"""`sentinel doctor`: one file a dependency, each a check that looks and changes nothing."""
