"""The registry: gates, promotion, approvals, signatures, descriptions, measures, holds, removal and retention of one store."""
