"""The imperative shell: carries a plan out through ports."""
