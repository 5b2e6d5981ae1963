"""The contracts where plugins and both programs meet, a module for each."""
