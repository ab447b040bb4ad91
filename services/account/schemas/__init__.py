"""The shapes of what comes in and what goes out; what they mean is decided by the flows. No queries here."""
