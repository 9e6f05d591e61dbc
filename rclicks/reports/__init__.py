"""From numbers to figures and pages."""
