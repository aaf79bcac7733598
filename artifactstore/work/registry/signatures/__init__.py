"""What is signed, and whose signatures count: approvals, model signatures, anchors."""
