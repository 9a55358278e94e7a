//! Who may await whom.
