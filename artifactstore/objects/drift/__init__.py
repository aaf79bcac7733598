"""How far the values of one table are from those of another: pure statistics over batches, which know no store."""
