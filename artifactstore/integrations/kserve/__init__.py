"""KServe and Kubernetes: a container that fetches a model before a pod starts, and does not let it start if a byte differs.

See docs/integrations/kserve.md.
"""
