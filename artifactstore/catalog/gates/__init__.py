"""Gates: rules that a version must meet before an alias may point to it, and their judgement on facts."""
