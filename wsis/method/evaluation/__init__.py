"""Measuring instance masks against ground truth: VOC mAP^r and instance quality.

Only measuring reads pixel labels; nothing here may be called from anything that trains.
"""
