"""Store maintenance: verify, doctor, sync."""
