"""A fake of the parts of AWS that the driver asks: EC2 (moto, with what it lacks), STS, SSM, Service Quotas, prices."""
